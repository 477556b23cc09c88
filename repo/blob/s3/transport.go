package s3

import (
	"io"
	"net"
	"net/http"
	"time"

	"github.com/certkeep/certkeep/repo/blob"
)

// newTransport keeps a connection for each of many requests at once, and gives up
// on a server that does not answer. How long a transfer may take is the context's.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConns:          4 * Connections,
		MaxIdleConnsPerHost:   Connections,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		ExpectContinueTimeout: 5 * time.Second,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true, // the length would not be known, and the data does not compress
		ForceAttemptHTTP2:     false,
	}
}

// bounded bounds what a server may send: minio-go reads listings to their end.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, blob.MaxSize + 1<<20}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, blob.ErrTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
