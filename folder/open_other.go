//go:build !unix

package folder

// openFlags: links are told by the directory's entry; Windows has no pipes in
// directories.
const openFlags = 0

func isLinkError(error) bool { return false }
