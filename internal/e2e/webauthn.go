package e2e

// Browser is a browser that the tests of another module drive.
type Browser = browser

// LaunchChromium starts a headless Chromium with a new, empty profile, until its Quit is
// called. If Chromium is missing, the error names the Debian packages.
func LaunchChromium() (*Browser, error) { return chromium.launch() }

// AddAuthenticator plugs in a virtual authenticator, which answers at once, for a person whom
// it has verified (WebAuthn, section 11.2). synced says that it copies its passkeys to other
// devices. Only Chromium has virtual authenticators.
func (b *browser) AddAuthenticator(synced bool) error {
	return b.call("AddVirtualAuthenticator", object{
		"protocol":                 "ctap2",
		"transport":                "internal",
		"hasResidentKey":           true,
		"hasUserVerification":      true,
		"isUserVerified":           true,
		"defaultBackupEligibility": synced,
		"defaultBackupState":       synced,
	}, nil)
}
