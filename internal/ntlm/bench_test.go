package ntlm

import (
	"crypto/hmac"
	"crypto/md5"
	"fmt"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/gss"
)

// BenchmarkSeal measures Wrap and Unwrap of bodies as DCE/RPC fragments and
// larger ones, and in the same run RC4 and HMAC-MD5 alone over the same
// buffers: x/bare is the share of their rate that is reached.
func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{4096, 5800, 65536} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			client, server := vectorSessions()
			m := gss.Message{Header: make([]byte, 24), Body: make([]byte, size), Trailer: make([]byte, 8)}
			token := make([]byte, tokenSize)
			cipher, mac, sum := newRC4(vecSessionKey), hmac.New(md5.New, vecSessionKey[:]), make([]byte, 0, md5.Size)
			var wrap, unwrap, bare time.Duration
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				t0 := time.Now()
				if err := client.Wrap(token, m, true); err != nil {
					b.Fatal(err)
				}
				t1 := time.Now()
				if err := server.Unwrap(token, m, true); err != nil {
					b.Fatal(err)
				}
				t2 := time.Now()
				mac.Reset()
				mac.Write(m.Body)
				mac.Sum(sum)
				cipher.XORKeyStream(m.Body, m.Body)
				t3 := time.Now()
				wrap, unwrap, bare = wrap+t1.Sub(t0), unwrap+t2.Sub(t1), bare+t3.Sub(t2)
			}
			rate := func(d time.Duration) float64 { return float64(size) * float64(b.N) / d.Seconds() / 1e6 }
			b.ReportMetric(rate(wrap), "wrap-MB/s")
			b.ReportMetric(rate(unwrap), "unwrap-MB/s")
			b.ReportMetric(rate(bare), "bare-MB/s")
			b.ReportMetric(100*bare.Seconds()/wrap.Seconds(), "wrap%bare")
			b.ReportMetric(100*bare.Seconds()/unwrap.Seconds(), "unwrap%bare")
		})
	}
}
