package org.reactorvfio.fuzz;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import java.util.Random;

/** Changes images as they go wrong in structures: numbers at their limits, offsets that point elsewhere, parts cut, moved, repeated. */
final class Mutator {
  private static final long[] EDGES = {
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    12,
    16,
    0x3f,
    0x40,
    0x7f,
    0x80,
    0xfc,
    0xff,
    0x100,
    0xffc,
    0x1000,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000L,
    0xffff_fff8L,
    0xffff_ffffL,
    0x1_0000_0000L,
    Long.MAX_VALUE,
    Long.MIN_VALUE,
    -1,
    -8
  };
  private static final int[] WIDTHS = {1, 2, 4, 8};

  private final Random random;
  private final List<byte[]> words;
  private final int largest;

  Mutator(Random random, List<byte[]> words, int largest) {
    this.random = random;
    this.words = words;
    this.largest = largest;
  }

  /** One of the images, changed once to eight times. */
  byte[] change(List<byte[]> corpus) {
    byte[] image = of(corpus).clone();
    for (int left = 1 << random.nextInt(4); left > 0; left--) {
      image = once(image, corpus);
    }
    return image.length > largest ? Arrays.copyOf(image, largest) : image;
  }

  private byte[] once(byte[] image, List<byte[]> corpus) {
    if (image.length == 0) {
      return inserted(image, 0, part(of(corpus)));
    }
    int at = random.nextInt(image.length);
    return switch (random.nextInt(words.isEmpty() ? 12 : 15)) {
      case 0 -> {
        image[at] ^= (byte) (1 << random.nextInt(8));
        yield image;
      }
      case 1 -> {
        image[at] = (byte) random.nextInt();
        yield image;
      }
      case 2, 3, 4 -> number(image, at, false);
      case 5 -> number(image, at, true);
      case 6 -> Arrays.copyOf(image, at);
      case 7 -> inserted(image, image.length, filler());
      case 8 -> without(image, at, Math.min(image.length - at, 1 + random.nextInt(16)));
      case 9 -> inserted(image, at, part(of(corpus)));
      case 10 -> overwritten(image, at, part(of(corpus)));
      case 11 -> overwritten(image, at, filler());
      default ->
        random.nextBoolean() ? inserted(image, at, of(words)) : overwritten(image, at, of(words));
    };
  }

  /** Puts another number in: one at a limit, or one that an offset or a length of this image may be. */
  private byte[] number(byte[] image, int at, boolean nearby) {
    int width = WIDTHS[random.nextInt(WIDTHS.length)];
    int from = random.nextInt(4) == 0 ? at : at / width * width;
    if (from + width > image.length) {
      return image;
    }
    ByteBuffer bytes = ByteBuffer.wrap(image)
        .order(random.nextInt(4) == 0 ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN);
    long value;
    if (nearby) {
      value = switch (width) {
        case 1 -> bytes.get(from);
        case 2 -> bytes.getShort(from);
        case 4 -> bytes.getInt(from);
        default -> bytes.getLong(from);
      };
      value += random.nextInt(33) - 16;
    } else {
      value = switch (random.nextInt(4)) {
        case 0 -> image.length + random.nextInt(17) - 8;
        case 1 -> random.nextInt(image.length);
        default -> EDGES[random.nextInt(EDGES.length)];
      };
    }
    switch (width) {
      case 1 -> bytes.put(from, (byte) value);
      case 2 -> bytes.putShort(from, (short) value);
      case 4 -> bytes.putInt(from, (int) value);
      default -> bytes.putLong(from, value);
    }
    return image;
  }

  private byte[] filler() {
    byte[] filler = new byte[1 + random.nextInt(64)];
    switch (random.nextInt(3)) {
      case 0 -> Arrays.fill(filler, (byte) -1);
      case 1 -> random.nextBytes(filler);
      default -> {
        // Zeroes.
      }
    }
    return filler;
  }

  private byte[] part(byte[] image) {
    if (image.length == 0) {
      return filler();
    }
    int from = random.nextInt(image.length);
    return Arrays.copyOfRange(
        image, from, from + 1 + random.nextInt(Math.min(64, image.length - from)));
  }

  private static byte[] inserted(byte[] image, int at, byte[] part) {
    byte[] longer = new byte[image.length + part.length];
    System.arraycopy(image, 0, longer, 0, at);
    System.arraycopy(part, 0, longer, at, part.length);
    System.arraycopy(image, at, longer, at + part.length, image.length - at);
    return longer;
  }

  private static byte[] overwritten(byte[] image, int at, byte[] part) {
    System.arraycopy(part, 0, image, at, Math.min(part.length, image.length - at));
    return image;
  }

  static byte[] without(byte[] image, int at, int length) {
    byte[] shorter = new byte[image.length - length];
    System.arraycopy(image, 0, shorter, 0, at);
    System.arraycopy(image, at + length, shorter, at, image.length - at - length);
    return shorter;
  }

  private byte[] of(List<byte[]> some) {
    return some.get(random.nextInt(some.size()));
  }
}
