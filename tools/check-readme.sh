#!/bin/sh
# check-readme.sh SOURCE_DIR: the README's C program is examples/hello.c, and the paths that the README names exist.
set -eu
cd "$1"
program=$(awk '/^```c$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' README.md)
expected=$(tail -n +2 examples/hello.c)
if [ "$program" != "$expected" ]; then
    echo "the first C block of README.md is not examples/hello.c without its first line"
    exit 1
fi
# Names in backticks that look like paths of this tree; STEM stands for any kernel's.
failed=0
for path in $(grep -o '`[a-z.]*/[A-Za-z0-9_./-]*`' README.md | tr -d '`' | sort -u); do
    case $path in
    build/* | build-* | */STEM.*) continue ;;
    esac
    if [ ! -e "$path" ]; then
        echo "README.md names $path, which is not there"
        failed=1
    fi
done
exit $failed
