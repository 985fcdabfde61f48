#!/bin/sh
# Runs a command on this screen, or on a virtual one where there is none.
set -eu

if [ -n "${DISPLAY:-}" ] || [ -n "${WAYLAND_DISPLAY:-}" ]; then
    exec "$@"
fi
QT_QPA_PLATFORM=xcb exec xvfb-run --auto-servernum --server-args="-screen 0 1600x1000x24" "$@"
