#!/usr/bin/env bash
# Runs every fuzz test for a while: scripts/fuzz.sh [TIME], 10s each by default.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}
go list ./... | while read -r pkg; do
	dir=$(go list -f '{{.Dir}}' "$pkg")
	# Names are read from the sources: go test -list would build every package twice.
	{ grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go 2>/dev/null || true; } | awk '{print $2}' | sort -u |
	while read -r name; do
		printf '%s %s\n' "${pkg#*certkeep/certkeep/}" "$name"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$pkg" </dev/null | grep -E '^(FAIL|---|panic|ok)' || exit 1
	done
done
