package org.reactorvfio.kernel;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.reactorvfio.PciAddress;
import org.reactorvfio.discovery.DeviceChange;
import org.reactorvfio.discovery.DeviceChange.Kind;
import reactor.test.StepVerifier;

class DeviceWatchTest {
  private static final Duration INTERVAL = Duration.ofSeconds(1);

  @TempDir
  private Path root;

  private static DeviceChange change(Kind kind, String address, String driver) {
    return new DeviceChange(kind, PciAddress.parse(address), driver);
  }

  private void delete(String file) {
    try {
      Files.delete(root.resolve(file));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void tellsWhatComesAndGoesAndWhoHasIt() {
    FakeSysfs sysfs = new FakeSysfs(root);
    sysfs.function("0000:00:02.0", "vfio-pci", 1, 0);
    sysfs.function("0000:00:01.0", null, 2, 0);
    StepVerifier.withVirtualTime(
            () -> DeviceWatch.over(new Doctor(root, root, root, resource -> 0), INTERVAL))
        .expectSubscription()
        .expectNext(
            change(Kind.ADDED, "0000:00:01.0", ""), change(Kind.ADDED, "0000:00:02.0", "vfio-pci"))
        .expectNoEvent(INTERVAL.multipliedBy(3))
        .then(() -> {
          sysfs.function("0000:00:00.0", "pcieport", 3, 0);
          delete("bus/pci/devices/0000:00:01.0");
          delete("devices/pci0000:00/0000:00:02.0/driver");
        })
        .thenAwait(INTERVAL)
        .expectNext(
            change(Kind.ADDED, "0000:00:00.0", "pcieport"),
            change(Kind.DRIVER_CHANGED, "0000:00:02.0", ""),
            change(Kind.REMOVED, "0000:00:01.0", ""))
        .expectNoEvent(INTERVAL)
        .thenCancel()
        .verify(Duration.ofSeconds(10));
  }

  @Test
  void looksOnlyWhenAskedTo() {
    FakeSysfs sysfs = new FakeSysfs(root);
    sysfs.function("0000:00:01.0", null, 2, 0);
    sysfs.function("0000:00:02.0", null, 2, 0);
    StepVerifier.withVirtualTime(
            () -> DeviceWatch.over(new Doctor(root, root, root, resource -> 0), INTERVAL), 1)
        .expectSubscription()
        .expectNext(change(Kind.ADDED, "0000:00:01.0", ""))
        .thenAwait(INTERVAL.multipliedBy(100))
        .thenRequest(1)
        .expectNext(change(Kind.ADDED, "0000:00:02.0", ""))
        .thenCancel()
        .verify(Duration.ofSeconds(10));
  }
}
