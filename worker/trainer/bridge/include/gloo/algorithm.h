// Declarations that libtorch's public headers name but its wheel does not carry.
// Only pointers to these types pass through the bridge; nothing here is defined or linked.
#pragma once
#include <gloo/context.h>
