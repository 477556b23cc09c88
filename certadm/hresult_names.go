package certadm

import "fmt"

func (h HRESULT) String() string { return fmt.Sprintf("0x%08X", uint32(h)) }
