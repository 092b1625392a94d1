package manifest

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUnion(t *testing.T) {
	t.Parallel()
	got := Union([]Command{
		{"deploy", []Input{
			{Name: "host", Help: "Where.", Required: true},
			{Name: "version", Help: "What it is called."},
			{Name: "timeout", Help: "How long.", Default: "10m"},
			{Name: "strategy", Help: "How.", Default: "rolling", Enum: []string{"rolling", "replace"}},
		}},
		{"rollback", []Input{
			{Name: "host", Help: "Where.", Required: true},
			{Name: "version", Help: "Which to bring back."},
			{Name: "timeout", Help: "How long.", Default: "5m"},
			{Name: "project", Help: "Name.", Required: true},
		}},
	})
	assert.Equal(t, []Input{
		{Name: "host", Help: "Where.", Required: true},
		{Name: "version", Help: "(deploy) What it is called. (rollback) Which to bring back."},
		{Name: "timeout", Help: "How long."},
		{Name: "strategy", Help: "(deploy) How.", Default: "rolling", Enum: []string{"rolling", "replace"}},
		{Name: "project", Help: "(rollback) Name."},
	}, got)
}
