package backup

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A throwaway server preloads what its server does, and gets nothing else of it: not its
// memory, and not the command that archives.
func TestWhatAThrowawayServerPreloads(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{
		"":         "",
		"postgres": "",
		"postgres -c shared_preload_libraries=pgaudit,vector -c shared_buffers=16GB -c archive_command=cp": "-c shared_preload_libraries=pgaudit,vector",
		"postgres -cshared_preload_libraries=pgaudit":                                                      "-c shared_preload_libraries=pgaudit",
		"--shared-preload-libraries=a-b":                                                                   "-c shared_preload_libraries=a-b",
		"echo shared_preload_libraries=pgaudit":                                                            "",
	} {
		assert.Equal(t, want, strings.Join(preloads(strings.Fields(command)), " "), command)
	}
}
