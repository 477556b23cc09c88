//go:build race

package csra

// racing says that the race detector is on: ciphers take a hundred times as long
// then, and memory is its own.
const racing = true
