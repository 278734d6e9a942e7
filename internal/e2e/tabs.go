package e2e

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// errUnsupported is returned for an action that an engine does not support.
var errUnsupported = errors.New("this engine does not support that")

// Tab returns the handle of the current tab, which receives the commands.
func (b *browser) Tab() (handle string, err error) {
	err = b.call("GetWindowHandle", object{}, &handle)
	return
}

// NewTab opens a tab. The current tab stays the same until [browser.Switch].
func (b *browser) NewTab() (string, error) {
	var tab struct {
		Handle string `json:"handle"`
	}
	err := b.call("NewWindow", object{"type": b.tabType}, &tab)
	return tab.Handle, err
}

// Switch makes a tab the current one and brings it to the front.
func (b *browser) Switch(handle string) error {
	return b.call("SwitchToWindow", object{"handle": handle}, nil)
}

// EnterFrame makes the page's first frame the target of Eval, Until and the keys, also after it
// has gone to another page.
func (b *browser) EnterFrame() error { return b.call("SwitchToFrame", object{"id": 0}, nil) }

// LeaveFrame undoes EnterFrame.
func (b *browser) LeaveFrame() error { return b.call("SwitchToFrame", object{"id": nil}, nil) }

// CloseTab closes the current tab. Call [browser.Switch] after it.
func (b *browser) CloseTab() error { return b.call("CloseWindow", object{}, nil) }

// ReopenTab reopens the tab that was closed last, with its history, like a user who
// closed it by mistake, and switches to it. It returns errUnsupported if the engine
// cannot do that.
func (b *browser) ReopenTab() error {
	if b.undoCloseTab == nil {
		return fmt.Errorf("%s: reopen a tab: %w", b.engine.name, errUnsupported)
	}
	// Chromium reopens tabs only from the extension's page, so a helper tab is opened.
	helper, err := b.NewTab()
	if err != nil {
		return err
	}
	if err := b.Switch(helper); err != nil {
		return err
	}
	before, err := b.tabHandles()
	if err != nil {
		return err
	}
	if err := b.undoCloseTab(); err != nil {
		return err
	}
	restored, err := b.waitForNewTab(before)
	if err != nil {
		return err
	}
	if err := errors.Join(b.CloseTab(), b.Switch(restored)); err != nil {
		return err
	}
	return b.Until(`return location.href !== "about:blank" && document.readyState === "complete"`)
}

// waitForNewTab waits for a tab that is not in before, and returns its handle.
func (b *browser) waitForNewTab(before []string) (string, error) {
	for end := time.Now().Add(pageLoadTimeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		now, err := b.tabHandles()
		if err != nil {
			return "", err
		}
		for _, tab := range now {
			if !slices.Contains(before, tab) {
				return tab, nil
			}
		}
	}
	return "", fmt.Errorf("the closed tab did not come back in %v", pageLoadTimeout)
}

func (b *browser) tabHandles() (handles []string, err error) {
	err = b.call("GetWindowHandles", object{}, &handles)
	return
}
