package e2e

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// errCannot is for what an engine offers no way to do.
var errCannot = errors.New("this engine cannot be made to do that")

// ReopenTab brings back the tab that was closed last, with its history, as a
// person does who closed it by mistake, and switches to it. It returns errCannot
// where that is impossible.
func (b *browser) ReopenTab() error {
	if b.undoCloseTab == nil {
		return fmt.Errorf("%s: reopen a tab: %w", b.engine.name, errCannot)
	}
	// Some engines need a page of their own to ask for it.
	helper, err := b.NewTab()
	if err != nil {
		return err
	}
	if err := b.Switch(helper); err != nil {
		return err
	}
	before, err := b.tabs()
	if err != nil {
		return err
	}
	if err := b.undoCloseTab(); err != nil {
		return err
	}
	restored, err := b.newest(before)
	if err != nil {
		return err
	}
	if err := errors.Join(b.CloseTab(), b.Switch(restored)); err != nil {
		return err
	}
	return b.Until(`return location.href !== "about:blank" && document.readyState === "complete"`)
}

// newest waits for a tab that was not there before.
func (b *browser) newest(before []string) (string, error) {
	for end := time.Now().Add(pageLoadTimeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		now, err := b.tabs()
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

func (b *browser) tabs() (handles []string, err error) {
	err = b.call("GetWindowHandles", object{}, &handles)
	return
}
