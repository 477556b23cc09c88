package eseview

// OpenNow is how many files are open.
func (fs *Files) OpenNow() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return len(fs.open)
}
