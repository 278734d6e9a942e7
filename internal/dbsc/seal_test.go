package dbsc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var testOffer = Offer{Owner: "__Host-session=ada", ID: testID, Authenticated: 5, Made: -7}

func TestWhatIsSealedComesBack(t *testing.T) {
	c := newTestCodec()
	for _, owner := range []string{"", "s=ada", "s=\x00\xff", strings.Repeat("o", 2891)} {
		for _, id := range []string{"A", testID, strings.Repeat("Z", maxID)} {
			want := Offer{Owner: owner, ID: id, Authenticated: 5, Made: -7}
			text := c.SealOffer(want)
			require.LessOrEqual(t, len(text), maxSealed)
			got, ok := c.OpenOffer(text)
			require.True(t, ok)
			require.Equal(t, want, got)
			require.NotEqual(t, text, c.SealOffer(want), "no two are the same")

			text = c.SealIdentifier(owner, id)
			gotOwner, gotID, ok := c.OpenIdentifier(text)
			require.True(t, ok)
			require.Equal(t, []string{owner, id}, []string{gotOwner, gotID})
		}
	}
}

func TestWhatIsTooLongIsNotSealed(t *testing.T) {
	c := newTestCodec()
	for _, id := range []string{"", strings.Repeat("A", maxID+1), strings.Repeat("A", 256)} {
		require.Empty(t, c.SealOffer(Offer{Owner: "s=ada", ID: id}))
		require.Empty(t, c.SealIdentifier("s=ada", id))
	}
	longest := 0
	for n := range 4000 {
		text := c.SealIdentifier(strings.Repeat("o", n), testID)
		require.LessOrEqual(t, len(text), maxSealed)
		if text != "" {
			longest = n
		}
	}
	require.Equal(t, 3000-28-1-26, longest)
}

func TestOnlyWhatThisGuardHasSealedOpens(t *testing.T) {
	c := newTestCodec()
	offer, identifier := c.SealOffer(testOffer), c.SealIdentifier("s=ada", testID)
	refused := func(name, text string) {
		t.Helper()
		_, ok := c.OpenOffer(text)
		require.False(t, ok, name)
		_, _, ok = c.OpenIdentifier(text)
		require.False(t, ok, name)
	}
	_, ok := c.OpenOffer(identifier)
	require.False(t, ok, "an identifier is no offer")
	_, _, ok = c.OpenIdentifier(offer)
	require.False(t, ok, "an offer is no identifier")

	stranger := New([][]byte{keyOf("x")}, [][]byte{keyOf("x")})
	refused("another guard's", stranger.SealOffer(testOffer))
	for _, text := range []string{offer, identifier} {
		refused("shortened", text[:len(text)-1])
		refused("shortened by 4", text[:len(text)-4])
		refused("lengthened", text+"AAAA")
		refused("padded", text+"=")
		refused("a line break", text[:9]+"\n"+text[9:])
		refused("a carriage return", text+"\r")
		refused("changed", "A"+text[1:len(text)-4]+"AAAA")
		refused("its MAC changed", text[:len(text)-4]+"AAAA")
	}
	for _, text := range []string{"", "A", "AA", strings.Repeat("A", 37), strings.Repeat("A", 38), strings.Repeat("A", 1<<20)} {
		refused("garbage", text)
	}
	// As if there were no bound when it was made.
	aead := c.seals[0]
	long := append([]byte{1, 'A'}, make([]byte, 3000)...)
	refused("longer than any", encode(aead.Seal(nil, nil, long, sealedIdentifier)))
}

func TestEveryKeyOpensWhatItHasSealedAndTheNewestSeals(t *testing.T) {
	c := newTestCodec()
	for i, key := range []string{"c", "d"} {
		single := New([][]byte{keyOf("a")}, [][]byte{keyOf(key)})
		got, ok := c.OpenOffer(single.SealOffer(testOffer))
		require.True(t, ok, key)
		require.Equal(t, testOffer, got)
		_, ok = single.OpenOffer(c.SealOffer(testOffer))
		require.Equal(t, i == 0, ok, key)
	}
}

// What the second key of newTestCodec has sealed. The formats must not change.
const (
	madeOffer      = "84By94vosDCk9oq19KzxPwgr-E_NmrXmpOvqlMZ58-hb-_8V9WTZl83ySVz1s9sMMa43csGJdaqAZD8CHh9-Xl4cH-_O57ueb4khJoi-zmXbmbl01rOuDZM"
	madeIdentifier = "7q7oVtpZ0hR_XtFK4cP-l1Ik9v3eTm_G2Tbr8PgG_8kzD7Sdjth0hNAymGCUpHbw0hVyQSm36CwmTGgm"
)

// Nothing opens but what was made, as what it was made, and nothing panics.
func FuzzOpen(f *testing.F) {
	c := newTestCodec()
	stranger := New([][]byte{keyOf("x")}, [][]byte{keyOf("x")})
	for _, made := range []string{madeOffer, madeIdentifier} {
		for _, text := range []string{made, made[:len(made)-1], made + "A", made + "=", made[4:], made[:9] + "\n" + made[9:], made[:38]} {
			f.Add(text)
		}
	}
	for _, text := range []string{"", "A", strings.Repeat("A", 37), strings.Repeat("A", 38), strings.Repeat("_", 4001), stranger.SealOffer(testOffer), stranger.SealIdentifier("s=ada", testID)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		offer, ok := c.OpenOffer(text)
		if ok != (text == madeOffer) || ok && offer != testOffer {
			t.Fatalf("%q: %v %v", text, offer, ok)
		}
		owner, id, ok := c.OpenIdentifier(text)
		if ok != (text == madeIdentifier) || ok && (owner != "s=ada" || id != testID) {
			t.Fatalf("%q: %q %q %v", text, owner, id, ok)
		}
	})
}
