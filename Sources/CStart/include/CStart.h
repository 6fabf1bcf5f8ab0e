#pragma once

/// Initialization before `main`: see CStart.c. Nothing is called from Swift; the target is linked.
