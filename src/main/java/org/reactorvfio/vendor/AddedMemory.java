package org.reactorvfio.vendor;

import java.nio.ByteBuffer;
import org.reactorvfio.operations.MappedRegion;
import reactor.core.publisher.Mono;

/** Memory behind a region: it is copied from and to when somebody subscribes, which blocks nobody. */
final class AddedMemory implements AddedRegion.Handler {
  private final ByteBuffer memory;

  /** Takes all of a buffer. */
  AddedMemory(ByteBuffer memory) {
    this.memory = memory;
  }

  @Override
  public Mono<Integer> read(long offset, ByteBuffer destination) {
    return Mono.fromSupplier(() -> {
      int count = destination.remaining();
      destination.put(part(offset, count));
      return count;
    });
  }

  @Override
  public Mono<Integer> write(long offset, ByteBuffer source) {
    return Mono.fromSupplier(() -> {
      int count = source.remaining();
      part(offset, count).put(source);
      return count;
    });
  }

  @Override
  public Mono<MappedRegion> map(long offset, long size) {
    return Mono.fromSupplier(() -> new MappedMemory(part(offset, size), offset));
  }

  private ByteBuffer part(long offset, long size) {
    return memory.slice((int) offset, (int) size);
  }
}
