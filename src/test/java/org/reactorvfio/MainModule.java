package org.reactorvfio;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.module.ModuleDescriptor;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;

/** The library as it was built: tests run on the class path, where its descriptor has no effect. */
final class MainModule {
  private MainModule() {}

  /** The directory of the library's classes. */
  static Path classes() {
    try {
      return Path.of(VfioException.class
          .getProtectionDomain()
          .getCodeSource()
          .getLocation()
          .toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException("the library's classes have no place", e);
    }
  }

  static ModuleDescriptor descriptor() {
    try (InputStream in = Files.newInputStream(classes().resolve("module-info.class"))) {
      return ModuleDescriptor.read(in);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
