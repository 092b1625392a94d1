// Package sample has comparisons of which one is not tested.
package sample

// Between tells whether n is from low to high.
func Between(n, low, high int) bool {
	return n >= low && n <= high
}

// Sign is -1, 0 or 1.
func Sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n == 0:
		return 0
	}
	return 1
}

// Longer tells which text is longer; that both may be as long is not tested.
func Longer(a, b string) string {
	if !(len(a) > len(b)) {
		return b
	}
	return a
}
