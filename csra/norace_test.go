//go:build !race

package csra

const racing = false
