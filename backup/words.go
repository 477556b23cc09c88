package backup

import "fmt"

// count is "1 log", "2 logs".
func count[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// generations is "generation 7 (00007)" or "generations 7 (00007) to 12 (0000c)".
func generations(first, last uint32) string {
	if first == last {
		return "generation " + generation(first)
	}
	return "generations " + generation(first) + " to " + generation(last)
}
