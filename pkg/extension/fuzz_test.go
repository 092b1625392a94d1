package extension

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

// FuzzService: whatever stands under x-shiksha is either understood or
// refused with a sentence.
func FuzzService(f *testing.F) {
	for _, seed := range []string{
		"gateway: nginx\nport: 8000\ndrain: 30s\nreload: nginx", "reload: {test: [nginx, -t], signal: HUP}",
		"port: 1e3", "[]", "null", "drain: -1s", "reload: {test: [], signal: []}", "? [a]\n: b", "backups: 1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var value any
		if yaml.Unmarshal(data, &value) != nil {
			return
		}
		ext, bad := ParseService(value)
		if bad != nil {
			require.NotEmpty(t, bad.Text)
			return
		}
		require.GreaterOrEqual(t, ext.Drain.Nanoseconds(), int64(0))
		require.Equal(t, ext.Gateway != "", ext.Port != 0)
		_, err := json.Marshal(ext)
		require.NoError(t, err)
	})
}
