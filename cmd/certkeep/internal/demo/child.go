package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/serve"
	"github.com/certkeep/certkeep/connect"
)

// childStop bounds the clean stop of the child.
const childStop = 20 * time.Second

// Child is the demo's authority: a process of its own, so that it can be killed.
// It serves the authority in dir like "ca serve", and obeys the parent's orders
// until the pipe is closed.
func Child(ctx context.Context, dir string, in io.Reader, out io.Writer) (err error) {
	enc := json.NewEncoder(out)
	a, err := serve.Start(ctx, serve.Options{Dir: dir, EST: "127.0.0.1:0", HTTP: "127.0.0.1:0", Wire: serve.Wire{Listen: "127.0.0.1:0"}})
	if err != nil {
		return errors.Join(err, enc.Encode(Answer{Error: err.Error()}))
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), childStop)
		defer cancel()
		err = errors.Join(err, a.Stop(stop))
	}()
	if err := enc.Encode(Answer{EST: a.EST, HTTP: a.HTTP, Wire: connect.ServeAddress(a.Wire)}); err != nil {
		return err
	}
	return obey(in, out, func(o Order) (any, error) { return carryOut(ctx, a, o) })
}

func carryOut(ctx context.Context, a *serve.Authority, o Order) (any, error) {
	switch o.Do {
	case "revoke":
		return nil, a.Server.Revoke(ctx, account.LocalUser(), o.Serial, schema.KeyCompromise)
	case "crl":
		crl, err := a.Server.PublishCRL(ctx, account.LocalUser())
		return CRL{Number: crl.Number, Entries: crl.Entries}, err
	}
	return nil, fmt.Errorf("unknown order %q", o.Do)
}

// CRL is what the child says of a published CRL.
type CRL struct {
	Number  int64 `json:"number"`
	Entries int   `json:"entries"`
}
