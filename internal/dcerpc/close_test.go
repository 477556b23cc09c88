package dcerpc

import (
	"context"
	"testing"
)

// A call that is being carried out as the server closes is told by its context,
// and its answer reaches the client: it may be that of the call that closes the
// server. After that the connection is gone, as are those that were idle.
func TestCloseSendsLastAnswer(t *testing.T) {
	begun := make(chan struct{})
	s := startServer(t, Limits{}, func(c *ServerConfig) {
		c.Interfaces[2].Handler = func(ctx context.Context, c *Call) ([]byte, error) {
			close(begun)
			<-ctx.Done()
			return append(c.Reply, c.Stub...), nil
		}
	})
	busy := bind(t, s.connect(t, ClientOptions{}), secureSyntax, fakeSecurity(AuthSPNEGO, LevelPrivacy))
	idle := bind(t, s.connect(t, ClientOptions{}), echoSyntax, nil)
	type answer struct {
		stub []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		stub, err := busy.Call(t.Context(), Request{Opnum: opEcho, Stub: []byte("last words")})
		got <- answer{stub, err}
	}()
	<-begun
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if a := <-got; a.err != nil || string(a.stub) != "last words" {
		t.Errorf("%q, %v", a.stub, a.err)
	}
	for what, b := range map[string]*Binding{"busy": busy, "idle": idle} {
		if _, err := b.Call(t.Context(), Request{Opnum: opEcho}); err == nil {
			t.Errorf("the connection that was %s is there after Close", what)
		}
	}
}
