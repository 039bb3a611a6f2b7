// Reading and making JavaScript values. Types were checked in TypeScript: what is wrong here is our own fault, hence
// CHECK.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <string>

#include "base/check.h"

namespace ringway::values {

inline napi_value Property(napi_env env, napi_value object, const char* name) {
  napi_value value;
  CHECK(napi_get_named_property(env, object, name, &value) == napi_ok);
  return value;
}

inline double Number(napi_env env, napi_value value) {
  double number;
  CHECK(napi_get_value_double(env, value, &number) == napi_ok);
  return number;
}

inline uint64_t Unsigned(napi_env env, napi_value object, const char* name) {
  const double number = Number(env, Property(env, object, name));
  CHECK(number >= 0);
  return static_cast<uint64_t>(number);
}

inline int64_t Signed(napi_env env, napi_value object, const char* name) {
  return static_cast<int64_t>(Number(env, Property(env, object, name)));
}

inline bool Boolean(napi_env env, napi_value object, const char* name) {
  bool value;
  CHECK(napi_get_value_bool(env, Property(env, object, name), &value) == napi_ok);
  return value;
}

inline std::string String(napi_env env, napi_value value) {
  size_t length = 0;
  CHECK(napi_get_value_string_utf8(env, value, nullptr, 0, &length) == napi_ok);
  std::string text(length, '\0');
  CHECK(napi_get_value_string_utf8(env, value, text.data(), length + 1, &length) == napi_ok);
  return text;
}

inline std::string String(napi_env env, napi_value object, const char* name) {
  return String(env, Property(env, object, name));
}

struct Bytes {
  void* data = nullptr;
  size_t length = 0;  // in elements
};

inline Bytes TypedArray(napi_env env, napi_value value) {
  Bytes bytes;
  CHECK(napi_get_typedarray_info(env, value, nullptr, &bytes.length, &bytes.data, nullptr, nullptr) == napi_ok);
  return bytes;
}

inline napi_value Undefined(napi_env env) {
  napi_value value;
  CHECK(napi_get_undefined(env, &value) == napi_ok);
  return value;
}

inline napi_value Make(napi_env env, double number) {
  napi_value value;
  CHECK(napi_create_double(env, number, &value) == napi_ok);
  return value;
}

inline napi_value Make(napi_env env, const std::string& text) {
  napi_value value;
  CHECK(napi_create_string_utf8(env, text.data(), text.size(), &value) == napi_ok);
  return value;
}

inline napi_value MakeBool(napi_env env, bool boolean) {
  napi_value value;
  CHECK(napi_get_boolean(env, boolean, &value) == napi_ok);
  return value;
}

inline napi_value MakeObject(napi_env env) {
  napi_value value;
  CHECK(napi_create_object(env, &value) == napi_ok);
  return value;
}

inline void Set(napi_env env, napi_value object, const char* name, napi_value value) {
  CHECK(napi_set_named_property(env, object, name, value) == napi_ok);
}

}  // namespace ringway::values
