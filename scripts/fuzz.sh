#!/usr/bin/env bash
# Runs every fuzz test for a while: scripts/fuzz.sh [TIME [PACKAGE…]], 10s each
# and those of every package by default. Packages are built once, and as many
# fuzz tests run at a time as there are cores.
set -euo pipefail
cd "$(dirname "$0")/.."
export time=${1:-10s}
shift || true
export bin cache
bin=$(mktemp -d)
cache=$(go env GOCACHE)/fuzz
trap 'rm -rf "$bin"' EXIT

# one DIR PACKAGE NAME runs one fuzz test. What it found is in DIR/testdata/fuzz.
one() {
	cd "$1"
	for _ in 1 2; do
		if out=$("$bin/test" -test.run '^$' -test.fuzz "^$3\$" -test.fuzztime "$time" -test.fuzzminimizetime 10x -test.parallel 1 \
			-test.fuzzcachedir "$cache/$2" 2>&1 </dev/null); then
			printf '%s %s ok\n' "${2#*certkeep/certkeep/}" "$3"
			return
		fi
		# The end of the time is taken for a failure now and then (golang.org/issue/48591).
		case $out in *"Failing input written"*) break ;; *"context deadline exceeded"*) ;; *) break ;; esac
	done
	printf '%s %s FAILED\n%s\n' "$2" "$3" "$out"
	return 1
}
export -f one

go list -f '{{.Dir}} {{.ImportPath}}' "${@:-./...}" | while read -r dir pkg; do
	# Names are read from the sources: go test -list would build every package.
	names=$({ grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null || true; } | awk '{print $2}' | sort -u)
	[ -n "$names" ] || continue
	go test -c -fuzz . -o "$bin/test" "$pkg" </dev/null
	# shellcheck disable=SC2016,SC2086 # for the other bash; names are words
	printf '%s\n' $names | xargs -P "$(getconf _NPROCESSORS_ONLN)" -I NAME bash -c 'one "$@"' one "$dir" "$pkg" NAME
done
