#!/bin/sh
# Installs the Debian packages a goal needs if this is root with apt, and otherwise names those
# that are missing. On other systems it does nothing: there Python and Qt bring what they need.
set -eu

command -v dpkg-query >/dev/null 2>&1 || exit 0

case "$1" in
venv) wanted="python3-venv" ;;
window) wanted="libegl1 libgl1 libgl1-mesa-dri libglib2.0-0 libfontconfig1 libdbus-1-3
    libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1
    libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1" ;;
screen) wanted="xvfb xauth" ;;
*) echo "usage: $0 venv|window|screen" >&2; exit 64 ;;
esac

missing=""
for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" ||
        missing="$missing $package"
done
if [ "$1" = venv ] && python3 -c "import ensurepip, venv" 2>/dev/null; then
    missing=""
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "These Debian packages are missing; install them and try again:" >&2
    echo "  sudo apt-get install$missing" >&2
    exit 1
fi
