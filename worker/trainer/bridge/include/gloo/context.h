#pragma once
#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace gloo {
namespace transport {
class UnboundBuffer;
} // namespace transport

// Opaque here: libtorch creates and owns contexts.
class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};
} // namespace gloo
