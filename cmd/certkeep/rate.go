package main

import (
	"fmt"
	"strconv"
	"strings"
)

// rate is a flag: bytes a second, with K, M or G.
type rate int64

// String implements pflag.Value.
func (r *rate) String() string {
	if *r == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*r), 10)
}

// Type implements pflag.Value.
func (r *rate) Type() string { return "RATE" }

// Set implements pflag.Value.
func (r *rate) Set(s string) error {
	num, unit := s, int64(1)
	if n := len(s); n > 0 {
		if i := strings.IndexByte("KMG", s[n-1]&^0x20); i >= 0 {
			num, unit = s[:n-1], 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(num, 10, 32)
	if err != nil || n <= 0 {
		return fmt.Errorf("%q is no rate: bytes a second, as in 500K or 2M", s)
	}
	*r = rate(n * unit)
	return nil
}
