#pragma once

namespace gloo::transport {
// Opaque here: made by `ProcessGroupGloo::createDeviceFor…` and handed back to it.
class Device;
} // namespace gloo::transport
