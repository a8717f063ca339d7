# Sourced by scripts/demo and scripts/test: sets $root and $python, the environment's Python, after
# bringing the environment up to date with scripts/setup/main.py.
python=$root/.venv/bin/python
if ! { [ -x "$python" ] && "$python" -S "$root/scripts/setup/main.py" --check 2>/dev/null; }; then
    found=
    for name in ${PYTHON:-} python3 python3.11 python3.12 python3.13 python3.10 python; do
        if "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            found=$name
            break
        fi
    done
    if [ -z "$found" ]; then
        echo "set-up can't go on: no Python 3.10 to 3.13 found" >&2
        echo "  mend: install one (apt-get install python3.11 python3.11-venv python3.11-dev, brew install" \
            "python@3.11), or name it: PYTHON=/path/to/python3.11 $0" >&2
        exit 2
    fi
    "$found" "$root/scripts/setup/main.py" || exit $?
fi
