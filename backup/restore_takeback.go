package backup

import (
	"context"
	"errors"

	"github.com/certkeep/certkeep/certadm"
)

// TakeBack takes back what a restore registered and the service has not carried out:
// the way back from a restore that failed when the service was started. The service
// must be stopped; its files are left as they are.
func TakeBack(ctx context.Context, svc certadm.Service) (err error) {
	session, err := svc.RestorePrepare(ctx, certadm.RestoreFull)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		err = errors.Join(err, session.End(ctx))
	}()
	return session.RegisterComplete(ctx, certadm.EAbort)
}
