#!/bin/sh
# check-headers.sh INCLUDE_DIR CC: each public header compiles alone, as strict C11 and, where there is a compiler, as C++17.
set -eu
include=$1 cc=$2
count=0
command -v c++ >/dev/null 2>&1 || echo "no C++ compiler: C only"
for header in "$include"/litemamba/*.h; do
    name=litemamba/$(basename "$header")
    echo "#include <$name>" | "$cc" -std=c11 -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror -I"$include" -fsyntax-only -x c -
    if command -v c++ >/dev/null 2>&1; then
        echo "#include <$name>" | c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -I"$include" -fsyntax-only -x c++ -
    fi
    count=$((count + 1))
done
[ "$count" -gt 0 ]
echo "$count headers compile alone"
