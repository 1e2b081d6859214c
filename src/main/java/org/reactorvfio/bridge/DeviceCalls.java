package org.reactorvfio.bridge;

import java.nio.ByteBuffer;
import java.util.EnumSet;
import java.util.Set;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;

/** The operations of an exported device, as far as somebody may use them. Both faces of the server go through here. */
final class DeviceCalls {
  private static final int EACCES = 13;

  private final Export export;
  private final VfioOperations operations;
  private final Set<Permission> allowed;

  DeviceCalls(Export export, Set<Permission> token) {
    this.export = export;
    this.operations = export.device().operations();
    EnumSet<Permission> both = EnumSet.noneOf(Permission.class);
    both.addAll(export.permissions());
    both.retainAll(token);
    this.allowed = both;
  }

  Set<Permission> allowed() {
    return allowed;
  }

  VfioDevice device() {
    return export.device();
  }

  VfioOperations operations() {
    return operations;
  }

  /** Fails unless this is allowed. */
  void require(Permission permission, String operation) {
    if (!allowed.contains(permission)) {
      throw new PermissionDeniedException(
          operation,
          export.name(),
          EACCES,
          "the owner does not allow it from afar",
          "have the device exported, and the token made, with " + permission);
    }
  }

  Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return Mono.defer(() -> {
      boolean config = device().info().pci() && region == Regions.CONFIG;
      require(config ? Permission.READ_CONFIG : Permission.READ_REGION, "read");
      return operations.read(region, offset, destination);
    });
  }

  Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return Mono.defer(() -> {
      require(Permission.WRITE, "write");
      return operations.write(region, offset, source);
    });
  }

  Mono<Void> reset() {
    return Mono.defer(() -> {
      require(Permission.RESET, "reset");
      return device().reset();
    });
  }

  Mono<Void> hotReset() {
    return Mono.defer(() -> {
      require(Permission.RESET, "hot reset");
      return device().hotReset();
    });
  }

  Mono<ByteBuffer> feature(FeatureRequest request) {
    return Mono.defer(() -> {
      require(Permission.FEATURE, "feature");
      return operations.feature(request);
    });
  }
}
