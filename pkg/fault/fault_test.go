package fault

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEarly(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want Kind
	}{
		{"no kind", t.Context(), errors.New("no room"), Refused},
		{"its own kind", t.Context(), New(Locked, "", "", "held"), Locked},
		{"cut off, and calls itself a refusal", ended, New(Refused, "", "", "sshd opens no further session"), Interrupted},
		{"cut off, and says so", ended, New(Interrupted, "", "", "told to end"), Interrupted},
	} {
		got := Early(c.ctx, c.err)
		assert.Equal(t, c.want, Of(got), c.name)
		assert.ErrorIs(t, got, c.err, c.name)
	}
	assert.Equal(t, "told to end", Early(ended, New(Interrupted, "", "", "told to end")).Error(), "said once")
	assert.NoError(t, Early(ended, nil))
}
