package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
)

// What an authority does in a day, and what it had done before.
const (
	issuedBefore = 40000
	issuedADay   = 2000
	revokedADay  = 200
)

// days: DIR COUNT. An authority lives for so many days: its database after each is DIR/DAY.db. Those are what the curve
// of chunk sizes is measured with, see repo's BenchmarkChunkSize.
func days(ctx context.Context, args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	home := filepath.Join(args[0], "authority")
	if err := certsrv.Init(ctx, home, certsrv.InitOptions{Name: "Bench CA"}); err != nil {
		return err
	}
	var serials []string
	for day := range count {
		n := issuedADay
		if day == 0 {
			n += issuedBefore
		}
		if serials, err = live(ctx, home, n, serials); err != nil {
			return fmt.Errorf("day %d: %w", day, err)
		}
		found, err := filepath.Glob(filepath.Join(home, "*", "*.db"))
		if err != nil || len(found) != 1 {
			return errors.Join(err, fmt.Errorf("%s: %d databases: %s", home, len(found), strings.Join(found, ", ")))
		}
		if err := copyFile(filepath.Join(args[0], fmt.Sprintf("%02d.db", day)), found[0]); err != nil {
			return err
		}
	}
	return os.RemoveAll(home)
}

// live is a day: the authority is started, issues and revokes, and is stopped.
func live(ctx context.Context, home string, issue int, serials []string) (_ []string, err error) {
	srv, err := certsrv.New(home, certsrv.Options{})
	if err != nil {
		return nil, err
	}
	if err := srv.Start(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.Stop(context.WithoutCancel(ctx))) }()
	fresh := make([]string, issue)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(128)
	for i := range fresh {
		g.Go(func() error {
			csr, err := request()
			if err != nil {
				return err
			}
			r, err := srv.Submit(gctx, account.LocalUser(), csr, nil)
			if err != nil {
				return err
			}
			c, err := x509.ParseCertificate(r.Certificate)
			if err != nil {
				return err
			}
			fresh[i] = fmt.Sprintf("%x", c.SerialNumber)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	serials = append(serials, fresh...)
	for range revokedADay {
		i := mrand.IntN(len(serials))
		if err := srv.Revoke(ctx, account.LocalUser(), serials[i], schema.Unspecified); err != nil {
			return nil, err
		}
		serials[i] = serials[len(serials)-1]
		serials = serials[:len(serials)-1]
	}
	return serials, nil
}

// request asks for a certificate of a machine of its own, with a key of its own: neither can be compressed away.
func request() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("host-%08x.example.com", mrand.Uint32())
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}}, DNSNames: []string{name}}, key)
}
