#!/usr/bin/env bash
# Prints the ratios of docs/benchmarks.md, "Repository", as this machine gives them:
#   bench/repository.sh [MiB of the database, 1024 if not said] [flags of ./bench/repository]
# restic and borg are measured if they are installed.
set -euo pipefail
cd "$(dirname "$0")/.."
size=1024
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
	size=$1
	shift
fi
program=$(mktemp -d)
trap 'rm -rf "$program"' EXIT
go build -o "$program/repository" ./bench/repository
"$program/repository" -mib "$size" "$@"
for version in "restic version" "borg --version"; do
	command -v "${version%% *}" >/dev/null && $version || true
done
