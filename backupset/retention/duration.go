package retention

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The units of durations beyond hours.
const (
	Day   = 24 * time.Hour
	Week  = 7 * Day
	Month = 30 * Day
	Year  = 365 * Day
)

// maxDuration bounds a duration: a hundred years.
const maxDuration = 100 * Year

var units = []struct {
	letter byte
	d      time.Duration
}{{'y', Year}, {'m', Month}, {'w', Week}, {'d', Day}, {'h', time.Hour}}

// ParseDuration reads a duration of years, months (30 days), weeks, days and hours, as in
// "1y6m", "30d" or "26h".
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%.40q is no duration: write 26h, 30d, 8w, 6m or 1y, or several in a row", s)
	var sum time.Duration
	rest := s
	for rest != "" {
		i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if i < 1 {
			return 0, bad
		}
		n, err := strconv.ParseInt(rest[:i], 10, 32)
		if err != nil {
			return 0, bad
		}
		var unit time.Duration
		for _, u := range units {
			if u.letter == rest[i] {
				unit = u.d
			}
		}
		if unit == 0 || time.Duration(n) > maxDuration/unit {
			return 0, bad
		}
		if sum += time.Duration(n) * unit; sum > maxDuration {
			return 0, bad
		}
		rest = rest[i+1:]
	}
	if sum == 0 {
		return 0, bad
	}
	return sum, nil
}

// FormatDuration writes what ParseDuration reads, in the largest units that fit.
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range units {
		if n := d / u.d; n > 0 {
			fmt.Fprintf(&b, "%d%c", n, u.letter)
			d -= n * u.d
		}
	}
	if b.Len() == 0 {
		return "0h"
	}
	return b.String()
}
