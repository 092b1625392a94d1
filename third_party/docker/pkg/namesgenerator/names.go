// Package namesgenerator stands where the old Docker engine's own does: see the
// README of third_party.
package namesgenerator

import (
	"math/rand/v2"
	"strconv"
)

// GetRandomName names a builder for which no name was given: nobody here makes one.
func GetRandomName(int) string { return "builder-" + strconv.FormatUint(rand.Uint64(), 36) }
