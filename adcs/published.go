package adcs

// PublishedDir is where the authority publishes certificates and CRLs on this
// machine, unless it was told otherwise (CertEnroll).
func (h *Host) PublishedDir() (string, error) {
	p, err := h.published()
	if err != nil {
		return "", err
	}
	return h.sys.native(string(p)), nil
}
