package dbsc

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// FIPS 140 mode is chosen when a process starts, so the test runs others in another one.
func TestTheProtocolWorksInFIPS140Mode(t *testing.T) {
	const tests = "^(TestATokenIsATimeAndAnHMAC|TestWhatIsSealedComesBack|TestAProofIsWhatABrowserSigned)$"
	for _, mode := range []string{"on", "only"} {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+tests, "-test.v")
		command.Env = append(os.Environ(), "GODEBUG=fips140="+mode)
		output, err := command.CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Contains(t, string(output), "--- PASS: TestAProofIsWhatABrowserSigned")
	}
}
