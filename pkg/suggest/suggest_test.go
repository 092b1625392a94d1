package suggest

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"gateway", "port", "drain", "reload"}
	for name, want := range map[string]string{
		"gatway": "gateway", "GATEWAY": "gateway", "gatewya": "gateway", "prot": "port", "reloads": "reload", "volumes": "", "": "",
	} {
		assert.Equal(t, want, Nearest(name, known), name)
	}
}

func TestNear(t *testing.T) {
	t.Parallel()
	assert.True(t, Near("x-shikhsa", "x-shiksha"))
	assert.False(t, Near("x-shiksha", "x-shiksha"), "it is the name")
	assert.False(t, Near("x-other", "x-shiksha"))
}
