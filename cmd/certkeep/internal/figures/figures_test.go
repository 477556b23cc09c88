package figures

import (
	"testing"
	"time"
)

func TestFigures(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Count(0), "0"}, {Count(999), "999"}, {Count(1000), "1,000"}, {Count(-1234567), "-1,234,567"}, {Count(uint32(100000)), "100,000"},
		{Plural(1, "log", "logs"), "1 log"}, {Plural(2000, "log", "logs"), "2,000 logs"},
		{Size(1), "1 byte"}, {Size(1023), "1,023 bytes"}, {Size(1536), "1.5 KiB"}, {Size(200 << 20), "200 MiB"}, {Size(5 << 40), "5.0 TiB"},
		{Duration(12300), "12 µs"}, {Duration(1500 * time.Microsecond), "1.5 ms"}, {Duration(250 * time.Millisecond), "250 ms"}, {Duration(2500 * time.Millisecond), "2.5 s"}, {Duration(125 * time.Second), "2m5s"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}
