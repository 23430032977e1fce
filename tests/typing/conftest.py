"""The user's script is for type checkers: its mistakes would be errors if it ran."""

collect_ignore = ["user_script.py"]
