package org.reactorvfio.bridge;

import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;

/** The same, without a network. */
class RemoteEduOverUnixSocketTest extends RemoteEduContractTest {
  @TempDir
  private static Path directory;

  @Override
  protected VfioBridge.Builder builder() {
    return VfioBridge.builder().listen(directory.resolve("edu.sock"));
  }
}
