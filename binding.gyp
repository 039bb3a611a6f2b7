{
  # Builds what ships, by `npm run prebuild`. The flags are those of CMakeLists.txt, which is the development build.
  "targets": [
    {
      "target_name": "ringway",
      "sources": [
        "<!@(node -p \"require('fs').readFileSync('native/sources.txt','utf8').split('\\n').filter((line)=>/^[^#\\s]/.test(line)).join(' ')\")"
      ],
      "include_dirs": ["native"],
      "defines": ["NAPI_VERSION=9", "RINGWAY_GLIBC_FLOOR"],
      "cflags!": ["-O3"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-O3"],
      "cflags_cc": [
        "-std=c++20",
        "-O2",
        "-g1",
        "-Wall",
        "-Wextra",
        "-fno-exceptions",
        "-fno-rtti",
        "-fvisibility=hidden"
      ],
      "ldflags": [
        "-Wl,-z,nodelete",
        "-Wl,--exclude-libs,ALL",
        "-static-libstdc++",
        "-static-libgcc"
      ]
    }
  ]
}
