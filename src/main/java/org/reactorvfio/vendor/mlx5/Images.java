package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.dma.DmaSpace;
import reactor.core.publisher.Mono;
import reactor.util.Logger;
import reactor.util.Loggers;

/** The memory of images. It is freed only when the firmware has let go of it, or does nothing any more. */
final class Images {
  private static final Logger LOG = Loggers.getLogger(Images.class);

  private final DmaSpace dma;
  private final CommandQueue commands;
  private final int pd;
  private final Set<DmaBuffer> all = ConcurrentHashMap.newKeySet();

  Images(DmaSpace dma, CommandQueue commands, int pd) {
    this.dma = dma;
    this.commands = commands;
    this.pd = pd;
  }

  /** Allocates memory, and makes it known to the firmware. */
  Mono<Image> allocate(long size) {
    return dma.allocate(size).flatMap(memory -> {
      all.add(memory);
      return commands
          .execute(
              Image.create(memory, pd), late -> discard(image(memory, late)).subscribe())
          .map(answer -> image(memory, answer))
          .onErrorResume(
              Mlx5CommandException.class,
              e -> (mayBeUsed(e) ? Mono.<Void>empty() : free(memory)).then(Mono.error(e)));
    });
  }

  private static Image image(DmaBuffer memory, ByteBuffer answer) {
    return new Image(
        memory, memory.buffer().order(ByteOrder.BIG_ENDIAN), (int) Layout.OBJECT.get(answer));
  }

  /** Whether the firmware may use what a failed command gave it. */
  private static boolean mayBeUsed(Mlx5CommandException e) {
    return e.reason() != Mlx5CommandException.Reason.REFUSED
        && e.reason() != Mlx5CommandException.Reason.NOT_DELIVERED;
  }

  private Mono<Void> free(DmaBuffer memory) {
    return memory.free().doOnSuccess(done -> all.remove(memory));
  }

  /** Frees an image as soon as the firmware has let go of it. Never fails: at worst it is freed with the PF's all. */
  Mono<Void> discard(Image image) {
    Command destroy = new Command(Opcode.DESTROY_MKEY).with(Layout.OBJECT, image.index());
    return commands
        .execute(destroy, late -> free(image.memory()).subscribe(done -> {}, e -> {}))
        .then(free(image.memory()))
        .onErrorResume(e -> {
          LOG.debug("{} stays", image.memory(), e);
          return Mono.empty();
        });
  }

  /** Frees all: the firmware does nothing any more. */
  Mono<Void> free() {
    return Mono.defer(() -> Memory.free(List.copyOf(all)));
  }

  /** How many there are, those included that the firmware has not let go of. */
  int count() {
    return all.size();
  }
}
