package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/certkeep/certkeep/repo/blob"
)

// knowledge is what is known about the server.
type knowledge int

const (
	unknown knowledge = iota
	yes
	no
)

// trial is the object on which it is tried. No key begins with ".".
const trial = ".conditional-write"

var trialContent = []byte("certkeep tries here whether this server refuses to replace an object. It may stay.\n")

// conditional finds out, once, whether the server knows conditional writes. It writes
// an object that is always the same, under the condition that it is not there: if it
// is there, a server that knows refuses. Where that is not allowed it stays unknown.
func (s *Store) conditional(ctx context.Context) (knowledge, error) {
	if err := s.take(ctx); err != nil {
		return unknown, err
	}
	defer s.give()
	for try := 0; s.condition == unknown; try++ {
		err := s.send(ctx, s.prefix+trial, trialContent, blob.PutOptions{}, true)
		mapped := s.mapped(ctx, "put", trial, err)
		switch {
		case code(err) == minio.PreconditionFailed, isConflict(err):
			s.condition = yes
		case err == nil && try > 0, code(err) == minio.NotImplemented, code(err) == minio.InvalidArgument:
			s.condition = no
		case errors.Is(mapped, blob.ErrDenied) && credentialsTaken(mapped):
			return unknown, nil
		case err != nil:
			return unknown, mapped
		}
	}
	return s.condition, nil
}

// take waits for the turn, and give passes it on.
func (s *Store) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) give() { <-s.turn }

// lockable finds out, once, whether the bucket has object lock. Where that may not be
// asked it stays unknown.
func (s *Store) lockable(ctx context.Context) (knowledge, error) {
	if err := s.take(ctx); err != nil {
		return unknown, err
	}
	defer s.give()
	if s.locks == unknown {
		lock, _, _, _, err := s.lockConfig(ctx)
		mapped := s.mapped(ctx, "ask for object lock of bucket", s.a.Bucket, err)
		switch {
		case strings.EqualFold(lock, "Enabled"):
			s.locks = yes
		case err == nil, code(err) == minio.NotImplemented:
			s.locks = no
		case ctx.Err() != nil || again(mapped) || isNoBucket(mapped):
			return unknown, mapped
		}
	}
	return s.locks, nil
}

// lockConfig is empty where there is no object lock.
func (s *Store) lockConfig(ctx context.Context) (lock string, mode *minio.RetentionMode, validity *uint, unit *minio.ValidityUnit, err error) {
	lock, mode, validity, unit, err = s.core.GetObjectLockConfig(ctx, s.a.Bucket)
	if strings.HasPrefix(code(err), "ObjectLockConfigurationNotFound") { // with or without "Error"
		err = nil
	}
	return lock, mode, validity, unit, err
}

// Check asks the server whether the bucket keeps versions and locks objects, and
// whether it replaces.
func (s *Store) Check(ctx context.Context) ([]blob.Finding, error) {
	var found []blob.Finding
	// asked turns the answer to a question into a finding.
	asked := func(f blob.Finding, permission string, err error) error {
		if err = s.mapped(ctx, "check", f.Code, err); err != nil {
			if ctx.Err() != nil || isNoBucket(err) || again(err) {
				return err
			}
			f.OK, f.Text = false, "the server did not say: "+err.Error()
			f.Hint = "allow " + permission + ", or look it up where buckets are managed"
		}
		if f.OK {
			f.Hint = ""
		}
		found = append(found, f)
		return nil
	}

	v, err := s.core.GetBucketVersioning(ctx, s.a.Bucket)
	f := blob.Finding{Code: "versioning", OK: v.Enabled(), Text: "the bucket keeps what is deleted or replaced as an older version"}
	if !f.OK {
		f.Text = "the bucket keeps no versions: what is deleted or replaced is gone"
		f.Hint = "turn versioning on, so that whoever steals the backup's credentials cannot destroy what is there"
	}
	if err := asked(f, "s3:GetBucketVersioning", err); err != nil {
		return nil, err
	}

	lock, mode, validity, unit, err := s.lockConfig(ctx)
	f = blob.Finding{Code: "object-lock", OK: strings.EqualFold(lock, "Enabled"), Text: "the bucket can lock objects"}
	switch {
	case !f.OK:
		f.Text = "the bucket cannot lock objects"
		f.Hint = "make the bucket with object lock, and back up with --retain-until"
	case mode != nil && validity != nil && unit != nil:
		f.Text += fmt.Sprintf("; each is locked for %d %s (%s)", *validity, strings.ToLower(unit.String()), strings.ToLower(mode.String()))
	}
	if err := asked(f, "s3:GetBucketObjectLockConfiguration", err); err != nil {
		return nil, err
	}

	known, err := s.conditional(ctx)
	f = blob.Finding{Code: "conditional-write", OK: known == yes, Text: "the server never replaces an object that is there (If-None-Match)"}
	switch known {
	case no:
		f.Text = "the server does not know conditional writes: two writers of the same object may replace each other's"
		f.Hint = "turn versioning on, and let no two hosts have the same name; or use a server that knows If-None-Match"
	case unknown:
		f.Text = "whether the server knows conditional writes could not be tried"
		f.Hint = "allow s3:PutObject for " + s.prefix + trial
	}
	if err := asked(f, "s3:PutObject", err); err != nil {
		return nil, err
	}
	return found, nil
}
