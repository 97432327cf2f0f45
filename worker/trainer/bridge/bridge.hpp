// The C face of libtorch's distributed engine, as the Rust module `c10d` sees it.
//
// Every function returns 0, or an error class (see ErrorClass) with the text kept in a thread-local
// until the next call; no exception crosses this line. Handles are owned by the caller and freed by
// their `_free` function. A `tensor` is what tch holds: a heap-allocated at::Tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>
#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Store;
class ProcessGroup;
class Backend;
} // namespace c10d

namespace yard {

enum ErrorClass : int32_t { kOk = 0, kTorch = 1, kNetwork = 2, kStore = 3 };

using StoreHandle = c10::intrusive_ptr<c10d::Store>;
using GroupHandle = c10::intrusive_ptr<c10d::ProcessGroup>;
using BackendHandle = c10::intrusive_ptr<c10d::Backend>;

// Hidden: the program and the NCCL library each keep their own.
__attribute__((visibility("hidden"))) std::string& last_error();

// Runs `body` and turns whatever it throws into an error class and a text.
template <typename F>
int32_t guarded(F&& body) noexcept {
  try {
    body();
    return kOk;
  } catch (const c10::DistStoreError& e) {
    last_error() = e.what_without_backtrace();
    return kStore;
  } catch (const c10::DistNetworkError& e) {
    last_error() = e.what_without_backtrace();
    return kNetwork;
  } catch (const c10::Error& e) {
    last_error() = e.what_without_backtrace();
    return kTorch;
  } catch (const std::exception& e) {
    last_error() = e.what();
    return kTorch;
  } catch (...) {
    last_error() = "unknown C++ exception";
    return kTorch;
  }
}

} // namespace yard
