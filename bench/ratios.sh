#!/usr/bin/env bash
# Prints the ratios of docs/benchmarks.md as this machine gives them, in about
# three minutes: bench/ratios.sh [flags of ./bench]
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(mktemp -d)
trap 'rm -rf "$program"' EXIT
go build -o "$program/certkeep" ./cmd/certkeep
go run ./bench -certkeep "$program/certkeep" "$@"
