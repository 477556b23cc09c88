package main

import (
	"context"
	"errors"

	"github.com/spf13/pflag"
)

// setOptions say which set a verb works on.
type setOptions struct {
	folder     string
	repository string
}

func (o *setOptions) addFlags(f *pflag.FlagSet, folder string) {
	f.StringVar(&o.folder, "folder", "", folder)
	f.StringVarP(&o.repository, "repository", "r", "", "a repository")
	f.Lookup("repository").Hidden = true // answered with one sentence, see check
}

func (o *setOptions) check() error { return needFolder(o.folder, o.repository) }

// withRecovered recovers the set's database in a temporary directory and gives
// its name to use.
func (o *setOptions) withRecovered(ctx context.Context, c *console, use func(database string) error) error {
	return errors.New("not written yet")
}
