#!/bin/sh
# The kernels on 64-bit Arm without such a machine: cross-built with Debian's compiler, and tested
# under QEMU with Debian's Python for arm64 and the packages of PyPI. Everything is below build/arm;
# nothing is installed. `make arm-test` runs this; arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
here=$PWD/build/arm
root=$here/root
compiler=${ARM_CXX:-aarch64-linux-gnu-g++}
libraries=/usr/aarch64-linux-gnu # of the compiler: the loader, the C and the C++ library

for program in "$compiler" qemu-aarch64-static apt-get dpkg-deb cmake ninja; do
    command -v "$program" >/dev/null || {
        echo "make arm-test needs $program: on Debian, apt-get install g++-aarch64-linux-gnu" \
            "qemu-user-static cmake ninja-build" >&2
        exit 1
    }
done

# Debian's Python with its C headers, from the sources that this machine's apt knows.
if ! test -x "$here/python"; then
    rm -rf "$here"
    mkdir -p "$root" "$here/apt/lists/partial" "$here/apt/cache/archives/partial" "$here/packages"
    : >"$here/apt/status"
    arm64() {
        "$@" -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$here/apt" \
            -o Dir::State::status="$here/apt/status" -o Dir::Cache="$here/apt/cache" \
            -o Acquire::Languages=none -o APT::Sandbox::User=root
    }
    arm64 apt-get update
    minor=$(arm64 apt-cache show python3 |
        sed -n 's/^Depends:.*[ (]python3\.\([0-9]*\).*/\1/p' | head -n 1)
    test -n "$minor" || {
        echo "make arm-test found no Python for arm64 in apt's sources: it needs those of Debian" >&2
        exit 1
    }
    (cd "$here/packages" && arm64 apt-get download "python3.$minor-minimal" "libpython3.$minor-minimal" \
        "libpython3.$minor-stdlib" "libpython3.$minor-dev" zlib1g libexpat1 libffi8 libssl3 \
        libbz2-1.0 liblzma5 libuuid1 libcrypt1)
    for package in "$here"/packages/*.deb; do dpkg-deb -x "$package" "$root"; done
    cp "$root/usr/include/aarch64-linux-gnu/python3.$minor/pyconfig.h" \
        "$root/usr/include/python3.$minor/"
    "${PYTHON:-python3}" -m venv "$here/host"
    "$here/host/bin/python" -m pip install --quiet --target "$here/site" --only-binary :all: \
        --platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64 \
        --python-version "3.$minor" --implementation cp -c constraints.txt \
        numpy pytest pytest-xdist hypothesis mpmath ml_dtypes nanobind
    cat >"$here/python" <<END
#!/bin/sh
# Debian's Python for arm64, emulated; also the name by which it starts itself again.
exec qemu-aarch64-static -L $libraries -0 "$here/python" -E PYTHONHOME="$root/usr" \\
    -E LD_LIBRARY_PATH="$libraries/lib:$root/usr/lib/aarch64-linux-gnu:$root/lib/aarch64-linux-gnu" \\
    -E PYTHONPATH="$here/package:$here/site" -E PYTHONDONTWRITEBYTECODE=1 \\
    "$root/usr/bin/python3.$minor" "\$@"
END
    chmod +x "$here/python"
fi

cmake -S . -B "$here/cmake" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DPython_EXECUTABLE="$here/python" -DPython_INCLUDE_DIR="$(echo "$root"/usr/include/python3.*)"
cmake --build "$here/cmake"
rm -rf "$here/package"
mkdir "$here/package"
cp -R src/softxent "$here/package/"
rm -f "$here"/package/softxent/*.so
cmake --install "$here/cmake" --prefix "$here/package"

exec "$here/python" -m pytest -p no:cacheprovider "$@"
